"""The exchange: pure matching of orders, packed commands in and packed reports out."""
