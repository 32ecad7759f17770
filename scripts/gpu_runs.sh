#!/usr/bin/env bash
# Whole runs on one GPU within 4 minutes: the demo twice, Countdown by SFT and RLOO, adapters on 8B; as gpu_session.sh.
exec "$(dirname "$0")/gpu_session.sh" --plan runs "$@"
