from .content import Bundle, load_bundle
from .make import bundle
from .source import BundleError

__all__ = ["Bundle", "BundleError", "bundle", "load_bundle"]
