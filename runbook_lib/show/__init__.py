"""Charts, pages and widgets: they read results and decide nothing."""
