"""What apps, deployments and tasks are and how they change: pure, stdlib only."""
