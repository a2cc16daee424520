"""Tests of docker/: images and manifests."""
