-- The two ratings that ratings v2 reads from MySQL.
CREATE DATABASE IF NOT EXISTS test;
USE test;
CREATE TABLE IF NOT EXISTS ratings (ReviewID INT NOT NULL PRIMARY KEY, Rating INT);
INSERT INTO ratings (ReviewID, Rating) VALUES (1, 5), (2, 4);
