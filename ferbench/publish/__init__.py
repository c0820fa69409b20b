"""Text for people, pure: records in, text out. Percent, units of time and thousands separators are made only here."""
