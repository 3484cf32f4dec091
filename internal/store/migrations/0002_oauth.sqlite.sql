-- A secret that was replaced stays valid for as long as its app's owner asked.
ALTER TABLE apps ADD COLUMN old_client_secret_hash  BLOB NOT NULL DEFAULT x'';
ALTER TABLE apps ADD COLUMN old_client_secret_until INTEGER NOT NULL DEFAULT 0;
ALTER TABLE apps ADD COLUMN old_token               BLOB NOT NULL DEFAULT x''; -- sealed
ALTER TABLE apps ADD COLUMN old_token_until         INTEGER NOT NULL DEFAULT 0;
