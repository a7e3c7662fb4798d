"""CS3 lock leases: acquire, refresh, lose, release."""
