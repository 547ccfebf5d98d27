"""Views: each turns one type of result into blocks of a page and figures."""
