#!/bin/sh
# Written by `carrack ci init script`, for any CI. Change it as you like.
#
# Usage: ./carrack-ci.sh plan      on a change that is looked at: build, push, show what a deploy would change
#        ./carrack-ci.sh deploy    after `plan`, on the branch main: deploy exactly that plan
#
# Run both, one after the other, on the branch main: the plan of a change is about that commit and about the service
# as it was then, and what is merged can differ from both. If the service changes between the two, `deploy` stops
# with exit code 13 and changes nothing. Between two jobs keep carrack-plan.json: it is all that `deploy` reads.
#
# `carrack` must be on PATH, and credentials for Google in the environment: `carrack auth show` says which are found.
set -eu
cd "$(dirname "$0")"

case ${1-} in
  plan)
    image=$(carrack push --to prod --tag "$(git rev-parse HEAD)")
    carrack plan --to prod --image "$image" --out carrack-plan.json --summary carrack-plan.md
    ;;
  deploy)
    carrack deploy --plan carrack-plan.json
    ;;
  *)
    echo "usage: $0 plan|deploy" >&2
    exit 2
    ;;
esac
