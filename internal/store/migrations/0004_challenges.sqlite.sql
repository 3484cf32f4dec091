-- The challenges of a subscription, the latest first.
CREATE INDEX attempts_challenges ON attempts (subscription, id) WHERE kind = 3;
