#!/bin/sh
# Classify one image with curl, over REST: sh predict.sh [host:port]
# The same call works against TensorFlow Serving.
set -eu
url="http://${1:-127.0.0.1:8501}/v1/models/digits"

# uint8 [28, 28], 0 = paper, 255 = ink: a vertical stroke, so a 1
paper="[$(printf '0,%.0s' $(seq 27))0]"
stroke="[$(printf '0,%.0s' $(seq 13))255,255,255$(printf ',0%.0s' $(seq 12))]"
image="[$(printf "$paper,%.0s" $(seq 4))$(printf "$stroke,%.0s" $(seq 20))$(printf "$paper,%.0s" $(seq 3))$paper]"

curl --silent --show-error --fail-with-body "$url:predict" --data "{\"instances\": [$image]}"
echo
# The results table comes with the model: rows 0, 1, ... and an empty one past its end
curl --silent --show-error --fail-with-body "$url:predict" --data '{"signature_name": "benchmark", "instances": [0, 1]}'
echo
