"""The application in front of the database: maintenance, deployment, health, log.

And telling people.
"""
