"""The production book: a struct of arrays in typed Python, compiled by mypyc where that is possible.

Nothing here holds an object for an order or a level.  Both are numbers of slots in parallel arrays
(:mod:`~matchengine.exchange.kernel.orders`, :mod:`~matchengine.exchange.kernel.levels`); 0 stands for none.

Words that all files here use:

* A *side index* is ``2 * instrument + (0 for bids, 1 for asks)``: it numbers one side of one book.
* A *key* is a price with its side in the sign: the negated price for a buy, the price for a sell.  The smallest key
  is the best price on either side, and a taker with key ``t`` meets a maker with key ``m`` when ``t + m <= 0``.
* Unsigned fields of the layout are held as signed numbers of the same bits.
"""
