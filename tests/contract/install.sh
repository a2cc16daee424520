#!/usr/bin/env bash
# install.sh VENV - the real TensorRT Python bindings, one folder each: VENV/trt-10.16 and VENV/trt-11.4.
# The bindings are 1-2 MB wheels; the vendor's libraries behind them (GBs) are replaced by stand-ins of a few lines, so
# that every class, enum and signature can be read on a machine without a GPU. Nothing can be built or run with them.
set -euo pipefail
venv=$1
here=$(cd "$(dirname "$0")" && pwd)
for release in 10.16.1.11 11.4.0.106; do
  major=${release%%.*}
  folder=$venv/trt-$(cut -d. -f1,2 <<<"$release")
  rm -rf "$folder"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --target "$folder" "tensorrt-cu13-bindings==$release"
  for library in nvinfer nvonnxparser nvinfer_plugin; do
    cc -shared -fPIC -Wl,-soname,lib$library.so.$major -o "$folder/lib$library.so.$major" "$here/stand_ins/$library.c"
  done
done
