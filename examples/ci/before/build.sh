#!/bin/sh
# Builds the image and pushes it, with a key file.
set -eu
cd "$(dirname "$0")/.."
image=europe-west1-docker.pkg.dev/my-project/apps/shop:$COMMIT

docker login --username _json_key --password-stdin https://europe-west1-docker.pkg.dev \
  <"$GOOGLE_CLOUD_SERVICE_ACCOUNT_KEY_JSON"
rustc --edition 2024 -O -C target-feature=+crt-static --target x86_64-unknown-linux-gnu -o shop main.rs
docker build --tag "$image" .
docker push "$image"
