"""Pictures in files and as arrays: decoding, encoding, resizing, listing."""
