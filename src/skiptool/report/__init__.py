"""The exhibits of a report: from metric tables to figures, captions, sentences and numbers."""
