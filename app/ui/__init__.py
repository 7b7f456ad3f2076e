"""The web pages, rendered on the server, so that results are readable without scripts; small scripts update them."""

from app.ui.page import error_page
from app.ui.routes import ROUTERS, install

__all__ = ["ROUTERS", "error_page", "install"]
