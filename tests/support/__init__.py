"""What several tests share: makers of files and looks at the environment."""
