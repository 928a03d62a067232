"""What happens to runs: queue order, tags, heartbeats, and the sensor that ends stalled ones."""
