"""platformd runs versions of apps, lets them sleep when nobody calls and wakes them on traffic."""

__version__ = "0.1.0"
