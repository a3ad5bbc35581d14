"""Controls that rules share, by what they ask for: ids of `policies/catalogue`."""

TRANSFER = (
    "pdpl-22",
    "pdpl-23",
    "iso-8.12",
    "ia-t4.2.1",
    "ia-t7.6.4",
    "gdpr-44",
    "cbuae-outsourcing-data",
    "health-localisation",
    "difc-transfers",
    "adgm-40",
)
"""Nothing leaves the country."""
AT_REST = ("pdpl-20", "iso-8.24", "ia-t7.4.1", "gdpr-32")
"""Encryption of what is stored."""
KEYS = ("pdpl-20", "iso-8.24", "ia-t7.4.2", "gdpr-32")
"""Keys and their life."""
IN_TRANSIT = ("pdpl-20", "iso-8.20", "iso-8.24", "ia-t7.4.1", "gdpr-32")
"""TLS."""
NETWORK = ("pdpl-20", "iso-8.20", "iso-8.22", "ia-t4.5.1", "ia-t4.5.3", "gdpr-32")
"""Who can reach what."""
ACCESS = ("pdpl-20", "iso-5.15", "iso-8.2", "ia-t5.2.2", "gdpr-32")
"""Who may do what."""
AUTHENTICATION = ("pdpl-20", "iso-8.5", "ia-t5.2.2", "gdpr-32")
"""Who someone is."""
LOGGING = ("pdpl-9", "iso-8.15", "ia-t3.6.2", "gdpr-33")
"""A record of what happened."""
EVIDENCE = ("pdpl-9", "iso-5.28", "iso-8.15", "ia-t3.6.4", "ia-t3.6.5", "gdpr-33")
"""The record cannot be altered."""
MONITORING = ("pdpl-9", "iso-8.16", "ia-t3.6.3", "ia-t8", "gdpr-33")
"""Someone is told."""
BACKUP = ("pdpl-20", "iso-8.13", "ia-t3.5.1", "gdpr-32")
"""What is lost can be had back."""
AVAILABILITY = ("iso-5.30", "iso-8.14", "ia-t9", "gdpr-32")
"""It goes on when a part fails."""
RETENTION = ("pdpl-5", "iso-8.10", "ia-t1.3.1", "gdpr-5")
"""Nothing is kept longer than its purpose needs."""
ERASURE = ("pdpl-13-17", "iso-8.10", "gdpr-17")
"""What is erased is gone."""
RECORDS = ("pdpl-7-8", "iso-5.9", "iso-5.33", "ia-t1.2.1", "gdpr-30")
"""Who answers for what, and for which purpose."""
HARDENING = ("pdpl-20", "iso-8.9", "iso-8.31", "ia-t3.2.5", "gdpr-25")
"""Parts run with no more than they need."""
SUPPLY = ("iso-5.21", "iso-8.8", "iso-8.28", "ia-t7.7.1", "gdpr-25")
"""What runs is what was reviewed."""
CHANGE = ("iso-8.9", "iso-8.32", "ia-t3.2.3")
"""Changes are meant."""
COST = ("iso-8.6",)
"""The capacity that is needed and no more."""
AUTOMATED = ("pdpl-18", "gdpr-22", "cbuae-ai-oversight")
"""People stay in command of decisions about people."""
IMPACT = ("pdpl-21", "gdpr-35")
"""The assessment of what could harm people."""
LAWFUL = ("pdpl-4", "pdpl-6", "iso-5.34", "ia-m5.2.4", "gdpr-6", "gdpr-7")
"""A basis in law, and consent where that is it."""
MODELS = ("pdpl-18", "cbuae-ai-inventory", "cbuae-ai-fairness")
"""What is known of each model."""
