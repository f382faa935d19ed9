"""From a finished run to a Hub repository: record, licences, card, checks, hub."""
