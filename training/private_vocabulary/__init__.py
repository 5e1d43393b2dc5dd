"""Words that many clients use, and nobody learns who: three parties compute on shares of what clients say.

What is agreed: `agreement` (who, which words, how many clients; what may be claimed). What is said: `field` (shares and
checks), `shares` (a client's messages), `carrier` (from clients to parties), `links` (between the parties). What is
computed: `computing`, over mpyc. `command` is `chatfed vocabulary`, and `rehearsal` all of it on one machine.
"""
