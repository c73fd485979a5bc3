"""A trained model at work, and handed over: predictions of new scans, features, exports, cards, the membership audit."""
