"""What tests share: databases, replicas, workers, the program itself, and waiting for conditions."""
