# The server, the bot and every command of this project in one small image; docker-compose.yml puts them together.
FROM python:3.11.15-slim-bookworm

ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PORT=8000

# data/ is where SQLite lives unless DATABASE_URL names another place.
RUN useradd --system --uid 10001 --home-dir /desk --shell /usr/sbin/nologin desk \
    && install --directory --owner=desk --group=desk --mode=0700 /desk/data
WORKDIR /desk

COPY requirements.txt ./
RUN pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore -r requirements.txt

COPY . .
USER desk
EXPOSE 8000
VOLUME /desk/data

# 503 where alerts would not be stored or handled: urlopen raises then.
HEALTHCHECK --interval=30s --timeout=6s --start-period=60s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=5)"]

# From outside of the container: a proxy on this machine is not 127.0.0.1 in here.
CMD ["python", "-m", "gunicorn", "app:app", "--bind", "0.0.0.0:8000"]
