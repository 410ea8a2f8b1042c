"""How well tracking does on simulated movies whose drift and hops are known."""
