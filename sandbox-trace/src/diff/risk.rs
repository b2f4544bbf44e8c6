//! How bad a new privilege can be, from the tables of dangerous things.
