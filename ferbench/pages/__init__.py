"""What a published site says, as frozen records: gathered by `publication`, rendered by `publish.site`."""
