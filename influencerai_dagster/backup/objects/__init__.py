"""Copies objects to the backup target by rclone, keeps what was replaced, brings them back."""
