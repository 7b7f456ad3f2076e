"""The web pages, rendered on the server, so that results are readable without scripts; small scripts update them."""

from app.ui.routes import ROUTERS, install

__all__ = ["ROUTERS", "install"]
