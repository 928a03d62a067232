"""Order, tag and watch runs: the queue, heartbeats, and the sensor that ends stalled runs."""
