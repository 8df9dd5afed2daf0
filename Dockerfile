# syntax=docker/dockerfile:1
# Targets: client, serving (embedded server), training (CPU, or GPU with EXTRA=gpu), tensorflow-serving, and models,
# which brings the promoted model to a Kubernetes pod.
#   docker build --target serving -t digits-serving .
#   docker run --read-only -p 127.0.0.1:8500:8500 -p 127.0.0.1:8501:8501 -v "$PWD/models:/models:ro" digits-serving
# compose.yaml starts either server and classifies samples.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE digits.py ./
COPY client client
COPY serving serving
COPY training training
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim AS base
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Digits" \
      org.opencontainers.image.description="Reads handwritten digits behind TensorFlow Serving's API" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PYTHONUNBUFFERED=1
# requirements.txt holds the exact versions; as a constraint it installs only what the extra asks for
COPY requirements.txt /requirements.txt
COPY --from=wheel /wheels /wheels
RUN useradd --uid 1000 --gid 0 --no-create-home digits

FROM base AS client
RUN pip install --no-cache-dir --constraint /requirements.txt /wheels/*.whl
USER 1000:0
ENTRYPOINT ["digits"]
CMD ["--help"]

FROM base AS serving
RUN pip install --no-cache-dir --constraint /requirements.txt "$(echo /wheels/*.whl)[serving]"
# As in TensorFlow Serving's image: another one, and MODEL_NAME, may be given to docker run. DIGITS_MODELS comes before it
ENV MODEL_BASE_PATH=/models
VOLUME /models
EXPOSE 8500 8501
# Healthy while a version of the model answers. Behind TLS, give the container a check with --ca
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --start-interval=1s CMD ["sh", "-c", \
  "exec digits status --timeout 3 --model \"${MODEL_NAME:-digits}\""]
USER 1000:0
ENTRYPOINT ["digits"]
CMD ["serve", "--host", "0.0.0.0"]

FROM base AS training
ARG EXTRA=training
RUN pip install --no-cache-dir --constraint /requirements.txt "$(echo /wheels/*.whl)[${EXTRA}]"
ENV DIGITS_MODELS=/digits/models
WORKDIR /digits
ENTRYPOINT ["digits"]
CMD ["train"]

FROM busybox:1.37 AS models
COPY models/digits /models/digits
USER 1000:0

# The official server with our configuration and the promoted model baked in: needs models/digits from `digits train`.
FROM tensorflow/serving:2.20.0 AS tensorflow-serving
COPY serving/tensorflow_serving/*.config /config/
COPY models/digits /models/digits
EXPOSE 8500 8501
# The image has no curl. A model whose versions all failed has a status too, so the state is what counts
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --start-interval=1s CMD ["bash", "-c", \
  "exec 3<>/dev/tcp/127.0.0.1/8501 && printf 'GET /v1/models/digits HTTP/1.0\\r\\n\\r\\n' >&3 && grep -q '\"AVAILABLE\"' <&3"]
# The flags of serving/tensorflow_serving/flags.txt, which says why; the last of repeated flags wins
CMD ["--model_config_file=/config/models.config", "--grpc_max_threads=96", "--enable_grpc_healthcheck_service=true", \
     "--load_retry_interval_micros=1000000", "--monitoring_config_file=/config/monitoring.config"]
