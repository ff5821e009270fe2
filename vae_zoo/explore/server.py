"""The server of the page: on this machine alone, and nothing of the page is from anywhere else."""

import os
import socket
import sys
import tempfile
import webbrowser
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from vae_zoo.errors import UserError
from vae_zoo.explore.session import Session

HOST = "127.0.0.1"
TABS = 32  # of a browser, closed ones too, whose last pictures are kept: by itself Gradio keeps those of 10,000
# A browser that follows these asks no other host for anything, whatever a page says.
RULES = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
# A report that was found may hold any script: here it has no way to the page's server.
RULES_OF_REPORT = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; sandbox allow-scripts"
)
# To be said before Gradio is imported.
SAYS = {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_SSR_MODE": "False", "GRADIO_RUN_HISTORY": "False"}


def serve(session: Session, port: int = 0, browser: bool | None = None) -> None:
    """Show a session on a page of this machine, until Ctrl-C.

    Args:
        session: what is shown.
        port: 0 is a free one.
        browser: whether one is opened; None: where there is a screen.

    Raises:
        UserError: if the port is taken.
        ModuleNotFoundError: if Gradio is not installed.
    """
    with _settings():
        import uvicorn

        with _listening(port) as listening:
            address = f"http://{HOST}:{listening.getsockname()[1]}/"

            class Server(uvicorn.Server):
                """Tells the address as soon as somebody answers there."""

                async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                    await super().startup(sockets)
                    print(f"{address}\nCtrl-C ends it", flush=True)
                    if browser or (browser is None and _has_screen()):
                        webbrowser.open(address)

            # What a tab waits for never ends by itself, so an end does not wait for it.
            config = uvicorn.Config(application(session), log_level="critical", timeout_graceful_shutdown=1, ws="none")
            Server(config).run(sockets=[listening])


def application(session: Session) -> Any:
    """Return the page and what stands beside it, as an application of FastAPI."""
    import gradio as gr
    from fastapi import FastAPI, Request, Response
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from vae_zoo.data.files import LARGEST_PICTURE
    from vae_zoo.explore import page
    from vae_zoo.explore.runs import REPORT

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    # A page of another host, whose name is made to mean this machine, has no way in.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])

    @app.middleware("http")
    async def _(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        answer = await call_next(request)
        answer.headers.setdefault("Content-Security-Policy", RULES)
        answer.headers["Referrer-Policy"] = "no-referrer"
        return answer

    @app.get(f"/{REPORT}")
    def _report() -> Response:
        path = session.folder / REPORT if session.folder else None
        if path is None or not path.is_file() or path.is_symlink():
            return Response("There is no report here.", 404)
        return Response(path.read_bytes(), media_type="text/html", headers={"Content-Security-Policy": RULES_OF_REPORT})

    blocks = page.build(session)
    blocks.state_session_capacity = TABS
    blocks.queue(max_size=100, api_open=False)
    return gr.mount_gradio_app(
        app,
        blocks,
        "/",
        server_name=HOST,
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        enable_monitoring=False,
        max_file_size=LARGEST_PICTURE,
        theme=page.theme(),
        css=page.css(),
    )


@contextmanager
def _settings() -> Iterator[None]:
    """Let Gradio tell nobody anything, and put what is dropped on the page into a folder that is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="vae_zoo_explore_") as folder:
        before = dict(os.environ)
        os.environ.update(SAYS, GRADIO_TEMP_DIR=folder)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


@contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    # Only of a socket that says that it is TCP does asyncio turn off Nagle's algorithm, which adds 40 ms to an answer.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as found:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((HOST, port))
        except OSError as error:
            raise UserError(f"--port {port}: {error.strerror}; give another one, or 0 for a free one") from error
        yield found


def _has_screen() -> bool:
    """Whether a browser would have a window: without one, some open in the terminal."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
