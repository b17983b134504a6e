"""The pipeline: from logged outcomes to a router that can be trusted. Runs from the repository; imports the runtime."""
