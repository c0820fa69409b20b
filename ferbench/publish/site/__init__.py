"""A site of static pages that needs no network: templates, style, charts, and the records of `pages` put into them."""
