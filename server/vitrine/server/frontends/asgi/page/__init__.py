"""The page that a browser opens: its files, and how they are served. It calls the services as any caller does."""
