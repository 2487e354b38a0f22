"""Architecture search: builds, trains and scores the networks that src/search asks for; decides nothing."""
