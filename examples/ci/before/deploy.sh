#!/bin/sh
# Deploys what build.sh pushed, with the same key file.
set -eu
gcloud auth activate-service-account --key-file "$GOOGLE_CLOUD_SERVICE_ACCOUNT_KEY_JSON"
gcloud run deploy shop --quiet --project my-project --region europe-west1 \
  --image "europe-west1-docker.pkg.dev/my-project/apps/shop:$COMMIT"
