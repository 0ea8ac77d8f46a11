"""Makes the reference of the documentation's site from the code, while the site is built (mkdocs.yml)."""
