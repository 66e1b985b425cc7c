FROM python:3.12-slim

# Spaces run a container as user 1000.
RUN useradd --create-home --uid 1000 user
USER user
ENV HOME=/home/user
ENV HF_HOME=$HOME/.cache/huggingface \
    PATH=$HOME/.local/bin:$PATH \
    PYTHONUNBUFFERED=1
WORKDIR /home/user/app

COPY --chown=user requirements.txt .
RUN pip install --no-cache-dir --user -r requirements.txt

COPY --chown=user . .

EXPOSE 7860
CMD ["python", "train_model.py"]
