"""The web pages, rendered here, so that results can be read with scripts blocked; small scripts make them live."""

from app.ui.routes import ROUTERS, install

__all__ = ["ROUTERS", "install"]
