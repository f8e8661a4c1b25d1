#!/bin/sh
# Written by `carrack ci init script`, for any CI. Change it as you like.
#
# Usage: ./carrack-ci.sh plan      on a change that is looked at: build, push, show what a deploy would change
#        ./carrack-ci.sh deploy    after `plan`, on the branch @BRANCH@: deploy exactly that plan
#
# Run both, one after the other, on the branch @BRANCH@: the plan of a change is about that commit and about the service
# as it was then, and what is merged can differ from both. If the service changes between the two, `deploy` stops
# with exit code 13 and changes nothing. Between two jobs keep carrack-plan.json: it is all that `deploy` reads.
#
# `carrack` must be on PATH, and credentials for Google in the environment: `carrack auth show` says which are found.
set -eu
cd "$(dirname "$0")"
#if own-install
@INSTALL@
#end

case ${1-} in
  plan)
    #if builds
    image=$(carrack push@FLAGS@ --tag "$(git rev-parse HEAD)")
    carrack plan@FLAGS@ --image "$image" --out carrack-plan.json --summary carrack-plan.md
    #end
    #if image-elsewhere
    carrack plan@FLAGS@ --out carrack-plan.json --summary carrack-plan.md
    #end
    ;;
  deploy)
    carrack deploy --plan carrack-plan.json
    ;;
  *)
    echo "usage: $0 plan|deploy" >&2
    exit 2
    ;;
esac
