"""Answer HEAD wherever GET is answered."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadMiddleware:
    """ASGI middleware, the innermost: a HEAD is answered as its GET, with status and headers but without the body.

    An event stream or a large file is not produced any further: it ends as when the client disconnects.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a HEAD on as a GET, and send the beginning of its response."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        asked: Scope = {**scope, "method": "GET"}

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                scope.update({**asked, "method": "HEAD"})  # the layers around read the route from it
                await send(message)
                await send({"type": "http.response.body", "body": b""})  # the server then reports a disconnect

        await self._app(asked, receive, send_head)
