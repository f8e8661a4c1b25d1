#!/bin/sh
# Lets the pipeline of me/shop plan and deploy without a key. Written by `carrack ci setup github`.
# An owner of my-project runs it once; a second run changes nothing.
set -eu
project=my-project
number=$(gcloud projects describe "$project" --format 'value(projectNumber)')
pool=projects/$number/locations/global/workloadIdentityPools/carrack
plan=carrack-plan@my-project.iam.gserviceaccount.com
deploy=carrack-deploy@my-project.iam.gserviceaccount.com

gcloud services enable --project "$project" \
  iam.googleapis.com iamcredentials.googleapis.com sts.googleapis.com cloudresourcemanager.googleapis.com \
  run.googleapis.com artifactregistry.googleapis.com secretmanager.googleapis.com logging.googleapis.com

# Who is trusted: tokens of that issuer, for that repository alone.
gcloud iam workload-identity-pools describe carrack --project "$project" --location global >/dev/null 2>&1 ||
  gcloud iam workload-identity-pools create carrack --project "$project" --location global --display-name Carrack
gcloud iam workload-identity-pools providers describe github --project "$project" --location global \
  --workload-identity-pool carrack >/dev/null 2>&1 ||
  gcloud iam workload-identity-pools providers create-oidc github --project "$project" --location global \
    --workload-identity-pool carrack --issuer-uri https://token.actions.githubusercontent.com \
    --attribute-mapping "google.subject=assertion.sub,attribute.repository=assertion.repository,attribute.workflow_ref=assertion.workflow_ref" \
    --attribute-condition "assertion.repository == 'me/shop'"

# The two accounts: one for any branch, one for main alone.
for account in "$plan" "$deploy"; do
  gcloud iam service-accounts describe "$account" --project "$project" >/dev/null 2>&1 ||
    gcloud iam service-accounts create "${account%%@*}" --project "$project" --display-name 'Carrack, for me/shop'
done
gcloud iam service-accounts add-iam-policy-binding "$plan" --project "$project" --role roles/iam.workloadIdentityUser \
  --member "principalSet://iam.googleapis.com/$pool/attribute.repository/me/shop"
gcloud iam service-accounts add-iam-policy-binding "$deploy" --project "$project" --role roles/iam.workloadIdentityUser \
  --member "principalSet://iam.googleapis.com/$pool/attribute.workflow_ref/me/shop/.github/workflows/carrack.yml@refs/heads/main"

# What they may do.
role() {
  if gcloud iam roles describe "$1" --project "$project" >/dev/null 2>&1; then verb=update; else verb=create; fi
  gcloud iam roles "$verb" "$1" --project "$project" --title "$2" --stage GA --permissions "$3" --quiet >/dev/null
}
gcloud artifacts repositories describe apps --project my-project --location europe-west1 >/dev/null 2>&1 ||
  gcloud artifacts repositories create apps --project my-project --location europe-west1 --repository-format docker
role carrackPlan 'Carrack: plan for me/shop' \
  run.services.get,run.services.getIamPolicy
gcloud projects add-iam-policy-binding "$project" --condition None --quiet \
  --member "serviceAccount:$plan" --role "projects/$project/roles/carrackPlan" >/dev/null
gcloud artifacts repositories add-iam-policy-binding apps --location europe-west1 --project my-project --member serviceAccount:carrack-plan@my-project.iam.gserviceaccount.com --role roles/artifactregistry.writer --condition None --quiet >/dev/null
role carrackDeploy 'Carrack: deploy for me/shop' \
  logging.logEntries.list,run.operations.get,run.revisions.get,run.routes.invoke,run.services.create,run.services.get,run.services.getIamPolicy,run.services.update
gcloud projects add-iam-policy-binding "$project" --condition None --quiet \
  --member "serviceAccount:$deploy" --role "projects/$project/roles/carrackDeploy" >/dev/null
gcloud iam service-accounts add-iam-policy-binding $number-compute@developer.gserviceaccount.com --project my-project --member serviceAccount:carrack-deploy@my-project.iam.gserviceaccount.com --role roles/iam.serviceAccountUser --condition None --quiet >/dev/null
gcloud artifacts repositories add-iam-policy-binding apps --location europe-west1 --project my-project --member serviceAccount:carrack-deploy@my-project.iam.gserviceaccount.com --role roles/artifactregistry.reader --condition None --quiet >/dev/null

# What the pipeline has to know; it is no secret.
echo "CARRACK_FEDERATION_PROVIDER=$pool/providers/github"
