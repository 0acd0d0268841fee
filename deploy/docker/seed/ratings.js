// The two ratings that ratings v2 reads from MongoDB, in this order.
db.getSiblingDB("test").ratings.insertMany([{ rating: 5 }, { rating: 4 }]);
