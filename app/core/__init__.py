"""What every process of ado uses: settings, logs, reasons, git, private files. Imports only the wire beneath it."""
