"""The ground floor: what every other room stands on. Imports no engine, and torch only where named."""
