"""The chart's values: their models, and the JSON schema that Helm checks them with."""
