"""The namespace a user sees, as one RemoteTree over one or many roots."""
