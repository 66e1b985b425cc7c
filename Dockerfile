FROM python:3.12-slim

# Spaces run a container as user 1000, who owns the folders that a run writes to, and nothing else. Nobody becomes
# another user in here.
RUN useradd --create-home --uid 1000 user \
    && install -d -o user -g user /home/user/.cache /home/user/.cache/huggingface /app/runs \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} +

# One argument chooses what is installed. By version and hash: requirements-cuda.lock, or requirements-cpu.lock, which
# needs the index of PyTorch's CPU builds as PIP_EXTRA_INDEX_URL. By version alone: requirements.txt. On a Space,
# variables arrive as arguments.
ARG REQUIREMENTS=requirements-cuda.lock
ARG PIP_EXTRA_INDEX_URL
COPY requirements.txt requirements-*.lock /app/
# The packages' own tests and torch's C++ headers are of no use here.
RUN pip install --no-cache-dir --root-user-action=ignore -r "/app/$REQUIREMENTS" \
    && packages=$(python -c "import sysconfig; print(sysconfig.get_path('purelib'))") \
    && find "$packages" -type d \( -name tests -o -path "*/torch/test" -o -path "*/torch/include" \) -prune -exec rm -r {} + \
    && find "$packages/torch/bin" -type f ! -name torch_shm_manager -delete

ENV HOME=/home/user
ENV HF_HOME=$HOME/.cache/huggingface \
    MPLCONFIGDIR=/tmp/matplotlib \
    WANDB_CONFIG_DIR=/tmp/wandb \
    WANDB_DATA_DIR=/tmp/wandb \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /app
COPY . .

ARG VERSION=development
ARG SOURCE
LABEL org.opencontainers.image.title="Grievance retrain" \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.source=$SOURCE \
      org.opencontainers.image.licenses=Apache-2.0

USER 1000
EXPOSE 7860
# PORT may come from an env file with quotes and a comment.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", \
    "import os, re, urllib.request as web; port = re.search('[0-9]+', os.environ.get('PORT', '') + ' 7860')[0]; \
     web.urlopen(f'http://127.0.0.1:{port}/health', timeout=4)"]
CMD ["python", "train_model.py"]
